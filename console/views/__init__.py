"""The parts of the page that the console serves: a trace live, two compared, the map, and calls to play."""
