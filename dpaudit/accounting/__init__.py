"""Upper bounds: the executed mechanism in, promised epsilons and trade-off curves out."""
