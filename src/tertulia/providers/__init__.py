"""Who serves models: one Provider protocol; each adapter maps its wire format to our stream events."""
