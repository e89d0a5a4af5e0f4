"""One module per DAW, behind one protocol."""
