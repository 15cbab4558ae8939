"""Public measurements of dpaudit's own claims: how often its bounds are wrong, how tight and how fast they are."""
