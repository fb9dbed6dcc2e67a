"""Plug-ins: one datamodule per public data set. They use the library, which never imports them."""
