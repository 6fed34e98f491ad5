// What a flood costs wherever it is sent: a Worker that refuses without looking. It is served as it stands
// here, so it must be JavaScript too.
export default { fetch: () => new Response(null, { status: 429 }) };
