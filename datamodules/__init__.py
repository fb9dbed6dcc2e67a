"""Plug-ins: one datamodule per public data set. They import the library, which never imports them."""
