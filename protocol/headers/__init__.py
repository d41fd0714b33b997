"""Request and reply headers, one module per family; each request is registered where it is defined."""
