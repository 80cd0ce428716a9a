"""The engine room: driver, runners, sensors, stores, control socket."""
