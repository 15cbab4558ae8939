"""The stages of an audit, each from files to files: plan, train, attack, bound, account, probe, report."""
