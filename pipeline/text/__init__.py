"""Text burned into pixels: strokes, lines of print, and what a person is shown of a suspect."""
