"""The dose of a first stage: which learning rate and how many steps change the policy as much as is wanted."""
