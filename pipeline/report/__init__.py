"""The door to matplotlib and jinja2: figures and pages for people."""
