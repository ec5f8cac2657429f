# What the reference scripts share: reading the data, fitting lmer until it has truly converged, writing JSON.
suppressPackageStartupMessages({
  library(lme4)
  library(lmerTest)
  library(nlme)
  library(numDeriv)
  library(jsonlite)
})
options(contrasts = c("contr.treatment", "contr.poly"))

HERE <- "."
SHARED <- "../../../../shared/data" # real data beside the repository: read, never copied
read_data <- function(name) {
  path <- if (startsWith(name, "shared:")) file.path(SHARED, sub("shared:", "", name)) else file.path(HERE, "data", paste0(name, ".csv"))
  d <- read.csv(path, stringsAsFactors = TRUE)
  for (id in c("patient", "subject", "therapist", "child")) if (!is.null(d[[id]])) d[[id]] <- factor(d[[id]])
  d
}

# Names of coefficients as formulaic writes them: armPDT -> arm[T.PDT], (Intercept) -> Intercept
python_names <- function(names, data) {
  factors <- names(data)[vapply(data, is.factor, NA)]
  one <- function(piece) {
    for (f in factors) for (l in levels(data[[f]])) if (piece == paste0(f, l)) return(paste0(f, "[T.", l, "]"))
    piece
  }
  vapply(names, function(name) {
    if (name == "(Intercept)") return("Intercept")
    paste(vapply(strsplit(name, ":")[[1]], one, ""), collapse = ":")
  }, "", USE.NAMES = FALSE)
}

# One lmer model at its true optimum: several starts, tight tolerances, then Newton steps on the free parameters.
fit_tight <- function(formula, data, REML = TRUE) {
  parsed <- lFormula(formula, data, REML = REML, control = lmerControl(check.conv.singular = "ignore"))
  dev <- do.call(mkLmerDevfun, parsed)
  lower <- parsed$reTrms$lower
  diagonal <- lower == 0
  best <- NULL
  for (s in c(1, .3, 3)) {
    start <- ifelse(diagonal, s, 0)
    for (again in 1:2) {
      o <- nloptwrap(start, dev, lower = lower, upper = rep(Inf, length(lower)),
                     control = list(xtol_abs = 1e-12, ftol_abs = 1e-14, xtol_rel = 0, ftol_rel = 0, maxeval = 20000))
      start <- o$par
    }
    if (is.null(best) || o$fval < best$fval) best <- o
  }
  theta <- best$par
  zero <- diagonal & theta < 1e-3
  if (any(zero)) { # exactly zero where zero is as good
    trial <- theta
    trial[zero] <- 0
    if (dev(trial) <= best$fval + 1e-8) theta <- trial
  }
  free <- !(diagonal & theta == 0)
  if (any(free)) {
    part <- function(x) { full <- theta; full[free] <- x; dev(full) }
    for (k in 1:4) {
      x <- theta[free]
      g <- grad(part, x)
      H <- hessian(part, x)
      if (min(eigen(H, only.values = TRUE)$values) < 1e-8 * max(diag(H))) break # a direction without information
      step <- solve(H, g)
      if (part(x - step) <= part(x) + 1e-10) theta[free] <- x - step
      if (max(abs(step)) < 1e-10) break
    }
  }
  value <- dev(theta)
  call <- substitute(lmer(formula = F, data = D, REML = R, control = lmerControl(check.conv.singular = "ignore")),
                     list(F = formula, D = quote(.data), R = REML))
  model <- mkMerMod(environment(dev), list(par = theta, fval = value, conv = 0, message = "polished"),
                    parsed$reTrms, parsed$fr, mc = call)
  environment(attr(model@frame, "formula")) <- globalenv()
  assign(".data", data, globalenv())
  list(model = model, theta = theta, deviance = value, singular = any(diagonal & theta == 0))
}

# What plain lmer() reaches with its defaults, and what it says
fit_plain <- function(formula, data, REML = TRUE) {
  said <- character()
  assign(".data", data, globalenv())
  fit <- withCallingHandlers(
    lme4::lmer(formula, data, REML = REML),
    warning = function(w) { said <<- c(said, conditionMessage(w)); invokeRestart("muffleWarning") },
    message = function(m) { said <<- c(said, trimws(conditionMessage(m))); invokeRestart("muffleMessage") }
  )
  list(deviance = unname(-2 * as.numeric(logLik(fit))), messages = said)
}

variance_rows <- function(model) {
  v <- as.data.frame(VarCorr(model))
  lapply(seq_len(nrow(v)), function(i) list(
    group = v$grp[i], term = v$var1[i], term_2 = v$var2[i], variance = v$vcov[i], sd_or_correlation = v$sdcor[i]
  ))
}

versions <- function(packages) c(list(R = R.version.string), setNames(lapply(packages, function(p) as.character(packageVersion(p))), packages))
write_json_file <- function(x, name) writeLines(toJSON(x, digits = NA, auto_unbox = TRUE, na = "null", pretty = 1), file.path(HERE, name))
