"""Plug-ins: a datamodule for each public data set. They use the library, which never imports them."""
