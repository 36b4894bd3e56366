"""Runs taken over from other trackers, a module per tracker."""
