# The marginal likelihood written out as its definition, for models no R package fits or fits to few digits:
#   y ~ N(X b, V),  V = sigma^2 (sum_g Z_g D_g Z_g' + S C(rho) S),
# V built in full for every top-level group, no shortcuts. Parameters: for each term the lower triangle of a factor L
# (D = LL'), then atanh(rho) (ar1) or logit(rho) (car1), then log SD ratios of the residual strata, then log sigma.
library(numDeriv)

dense_model <- function(fixed, random, data, corr = NULL, time = NULL, series = "patient", by = NULL, top = NULL, REML = TRUE) {
  X <- model.matrix(fixed, data)
  y <- model.response(model.frame(fixed, data))
  Z <- lapply(random, function(r) model.matrix(r$terms, data))
  q <- vapply(Z, ncol, 1L)
  blocks <- if (is.null(top)) list(seq_along(y)) else unname(split(seq_along(y), data[[top]]))
  n <- length(y)
  p <- ncol(X)
  strata <- if (is.null(by)) NULL else factor(data[[by]])
  n_ratio <- if (is.null(by)) 0 else nlevels(strata) - 1
  n_theta <- sum(q * (q + 1) / 2)
  unpack <- function(par) {
    L <- list()
    k <- 0
    for (g in seq_along(q)) {
      m <- matrix(0, q[g], q[g])
      size <- q[g] * (q[g] + 1) / 2
      m[lower.tri(m, TRUE)] <- par[k + seq_len(size)]
      if (!is.null(random[[g]]$diagonal)) m <- diag(diag(m), q[g])
      L[[g]] <- m
      k <- k + size
    }
    rho <- 0
    if (!is.null(corr)) {
      k <- k + 1
      rho <- if (corr == "ar1") tanh(par[k]) else plogis(par[k])
    }
    sd <- rep(1, n)
    if (n_ratio) {
      sd <- exp(c(0, par[k + seq_len(n_ratio)]))[strata]
      k <- k + n_ratio
    }
    list(D = lapply(L, tcrossprod), rho = rho, sd = sd, sigma = exp(par[k + 1]))
  }
  sums <- function(par) { # X'V^-1X, X'V^-1y, y'V^-1y and log|V| at sigma = 1
    u <- unpack(par)
    W <- cbind(X, y)
    Q <- matrix(0, p + 1, p + 1)
    logdet <- 0
    for (rows in blocks) {
      V <- if (is.null(corr)) diag(length(rows)) else {
        gap <- abs(outer(data[[time]][rows], data[[time]][rows], "-"))
        sign_rho <- if (u$rho < 0) ifelse(gap %% 2 == 0, 1, -1) else 1
        ifelse(outer(data[[series]][rows], data[[series]][rows], "=="), sign_rho * abs(u$rho)^gap, 0)
      }
      V <- V * outer(u$sd[rows], u$sd[rows])
      for (g in seq_along(q)) {
        same <- outer(data[[random[[g]]$group]][rows], data[[random[[g]]$group]][rows], "==")
        z <- Z[[g]][rows, , drop = FALSE]
        V <- V + same * (z %*% u$D[[g]] %*% t(z))
      }
      R <- chol(V)
      Q <- Q + crossprod(backsolve(R, W[rows, , drop = FALSE], transpose = TRUE))
      logdet <- logdet + 2 * sum(log(diag(R)))
    }
    list(Q = Q, logdet = logdet, sigma = u$sigma)
  }
  deviance <- function(par) { # -2 log (restricted) likelihood, sigma a parameter like the others
    s <- sums(par)
    A <- s$Q[1:p, 1:p, drop = FALSE]
    rss <- s$Q[p + 1, p + 1] - sum(s$Q[1:p, p + 1] * solve(A, s$Q[1:p, p + 1]))
    s2 <- s$sigma^2
    value <- n * log(2 * pi * s2) + s$logdet + rss / s2
    if (REML) value <- value - p * log(2 * pi * s2) + c(determinant(A)$modulus)
    value
  }
  vcov <- function(par) { s <- sums(par); s$sigma^2 * solve(s$Q[1:p, 1:p, drop = FALSE]) }
  beta <- function(par) { s <- sums(par); drop(solve(s$Q[1:p, 1:p, drop = FALSE], s$Q[1:p, p + 1])) }
  list(deviance = deviance, vcov = vcov, beta = beta, unpack = unpack, n = n, p = p, names = colnames(X),
       n_par = n_theta + (!is.null(corr)) + n_ratio + 1)
}

dense_fit <- function(model, start, fixed_at_zero = integer()) {
  free <- setdiff(seq_len(model$n_par), fixed_at_zero)
  full <- function(x) { par <- start; par[fixed_at_zero] <- 0; par[free] <- x; par }
  f <- function(x) model$deviance(full(x))
  o <- nlminb(start[free], f, control = list(rel.tol = 1e-13, x.tol = 1e-10, iter.max = 500, eval.max = 2000))
  x <- o$par
  for (k in 1:3) {
    g <- grad(f, x)
    H <- hessian(f, x)
    step <- solve(H, g)
    if (f(x - step) <= f(x) + 1e-9) x <- x - step
    if (max(abs(step)) < 1e-9) break
  }
  par <- full(x)
  A <- 2 * solve(hessian(f, x)) # covariance of the parameters; Satterthwaite is free of their scale at the optimum
  C <- model$vcov(par)
  df <- vapply(seq_len(model$p), function(j) {
    g <- grad(function(x) model$vcov(full(x))[j, j], x)
    2 * C[j, j]^2 / drop(t(g) %*% A %*% g)
  }, 1)
  list(par = par, deviance = f(x), gradient = max(abs(grad(f, x))), vcov = C, beta = model$beta(par), df = df, parts = model$unpack(par))
}

# Profile interval of one parameter on its own scale (all others maximised); NA where the profile never rises enough
dense_profile <- function(model, fit, index, level = .95, fixed_at_zero = integer()) {
  cut <- qchisq(level, 1)
  others <- setdiff(seq_len(model$n_par), c(index, fixed_at_zero))
  start <- fit$par[others]
  at <- function(v) {
    f <- function(x) { par <- fit$par; par[index] <- v; par[others] <- x; model$deviance(par) }
    o <- nlminb(start, f, control = list(rel.tol = 1e-13, x.tol = 1e-10, iter.max = 300, eval.max = 1000))
    o <- nlminb(o$par, f, control = list(rel.tol = 1e-13, x.tol = 1e-10, iter.max = 300, eval.max = 1000))
    o$objective - fit$deviance - cut
  }
  vapply(c(-1, 1), function(side) {
    reach <- .2
    while (at(fit$par[index] + side * reach) < 0 && reach < 20) reach <- reach * 1.6
    uniroot(at, sort(fit$par[index] + side * c(0, reach)), tol = 1e-8)$root
  }, 1)
}
