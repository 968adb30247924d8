"""Arrays of any library: types, namespaces, complex pairs, masks, associative scans."""
