package oauth

// What tests outside of the package reach into it for.

const AssertionType = assertionType
