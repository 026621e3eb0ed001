"""Pictures of volumes for people: shades, outlines and contact sheets, made alike for pages, packages and suspects."""
