"""The lessons: a folder each, with a page, patches and a check; `kit` is what their scripts have in common."""
