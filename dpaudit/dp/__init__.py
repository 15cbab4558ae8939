"""The mechanics of one differentially private step: sampling, clipping, noise, canaries, ledger."""
