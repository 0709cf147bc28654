"""The synthetic set: CLEVR-like scenes, drawn by chance and rendered on the spot."""
