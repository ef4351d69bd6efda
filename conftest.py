"""Nothing but this: the fixtures come from the plugin, registered by the package's entry point."""
