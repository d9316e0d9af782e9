"""smtp_sink: a mail server that delivers nothing and keeps everything, for people and tests to look at."""
