"""One, two and three copies of the composed processes."""
