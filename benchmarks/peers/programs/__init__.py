"""Programs that peers' own interpreters run; none imports LoHoVLA."""
