"""One training from secrets to weights, and everything that it leaves behind to be judged by."""
