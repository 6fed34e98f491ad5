// In the Workers' bundles in the place of `debug`, by the alias in each wrangler.toml. The OpenSearch client
// writes requests and answers to it, with the logs that are in them, wherever a variable DEBUG says so.
module.exports = () => () => {};
