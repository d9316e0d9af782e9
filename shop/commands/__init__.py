"""The commands of the shop's command line, a package for each kind; `shop.cli` lists them."""
