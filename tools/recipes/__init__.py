"""The workflows that are built: settings and files are those of the host's own templates, prompts are ours.

In every file the most used templates come first.
"""

from tools.recipes import edits, pictures, videos
from tools.recipes.parts import Recipe

RECIPES: tuple[Recipe, ...] = pictures.RECIPES + edits.RECIPES + videos.RECIPES
