"""Mail on its way into maildrops: whom it is for, what is written on it, and that it is really there."""
