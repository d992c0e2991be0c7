"""`tertulia serve`."""

from tertulia.settings import load_settings


def serve_command() -> None:
    """Start the server and print its address. Ctrl-C stops it. Settings: docs/reference/settings.md."""
    from tertulia.server import serve  # takes half of what any other command needs to start

    serve(load_settings())
