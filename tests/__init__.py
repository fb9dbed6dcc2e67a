"""A package, because one of our dependencies installs a package of this name, which would come first otherwise."""
