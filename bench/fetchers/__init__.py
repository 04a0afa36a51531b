"""Programs that fetch mail, side by side: what a crash costs, how fast they are far away, what memory they take."""
