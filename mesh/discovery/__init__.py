"""Finding members: beacons, seeds, the address book."""
