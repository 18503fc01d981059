"""The desktop side: provider, menu, settings page, layer styling."""
