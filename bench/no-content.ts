// The yardstick: the least that a Worker can do with a request. It is served as it stands here, so it
// must be JavaScript too.
export default { fetch: () => new Response(null, { status: 204 }) };
