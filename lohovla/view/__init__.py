"""The live page of a simulated table: pictures, what the policy wants, and a person's hand, goals and choices."""
