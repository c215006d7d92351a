"""The images sandboxes start from: their recipes, and the engine calls that build them."""
