"""What states do: arguments as people type them in, the result that Salt expects of a state out. No Salt is needed."""
