"""Score to audio: a neural synthesizer for every General MIDI sound, in NumPy."""
