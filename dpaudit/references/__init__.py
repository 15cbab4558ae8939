"""Reference models: trained only so that attacks can calibrate, kept in a pool that attacks and recipes share."""
