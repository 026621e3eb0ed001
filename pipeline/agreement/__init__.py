"""How far raters agree, and the mask they agree on."""
