"""Nothing lost, nothing twice: a load, a monkey that kills everything at random, and an audit of what is left."""
