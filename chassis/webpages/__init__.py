"""Small pages for people: what a port serves, and what stands behind it. Plain HTML that needs no network."""
