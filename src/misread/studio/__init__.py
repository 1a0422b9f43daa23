"""A local web application on the user's own runs: draw, train, look inside, mend labels."""
