"""In place of ComfyUI's front end, which is larger than a bundle: its server starts with one alone."""
