"""Bad input and the error that each public function raises for it, as tables."""
