package identity

// PolicyOf makes the policy that is made when an identity is stored.
func PolicyOf(i *Identity) *CallPolicy {
	i.withPolicy()
	return i.callPolicy
}
