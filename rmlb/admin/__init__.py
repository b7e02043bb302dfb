"""Admin API: HTTP on `[admin] listen`. Sees read-only views, acts through commands."""
