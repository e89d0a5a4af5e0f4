"""Words to music: what a musician writes about a sketch or an edit, as facts that the rest of Descant keeps to."""
