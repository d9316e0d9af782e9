"""users: accounts, passwords and the tokens that prove who is calling."""
