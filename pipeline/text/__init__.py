"""Text burned into pixels: ink, readable letters, and what a person is shown of a suspect."""
