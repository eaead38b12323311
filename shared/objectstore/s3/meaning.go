package s3

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/smithy-go"

	"github.com/kapok-operators/kapok/shared/objectstore"
)

// meaning puts the store's words to an error of the service.
func meaning(err error) error {
	if word := word(err); word != nil {
		return fmt.Errorf("%w: %w", word, err)
	}
	return err
}

// word returns the store's word for an error of the service, nil if there is none: it may pass then. What the service calls it counts
// for more than the status, which is all that an answer to HEAD has.
func word(err error) error {
	switch code(err) {
	case "NoSuchBucket":
		return objectstore.ErrAbsent
	case "NoSuchKey", "NotFound":
		return objectstore.ErrNotFound
	case "KeyTooLongError":
		return objectstore.ErrInvalidKey
	case "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull":
		return objectstore.ErrFull
	case "ExpiredToken", "InvalidToken", "TokenRefreshRequired":
		return objectstore.ErrDenied
	}
	switch status(err) {
	case http.StatusUnauthorized, http.StatusForbidden:
		return objectstore.ErrDenied
	case http.StatusInsufficientStorage:
		return objectstore.ErrFull
	}
	return nil
}

// code returns what the service calls an error, "" if it was not the service.
func code(err error) string {
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		return answer.ErrorCode()
	}
	return ""
}

// status returns the HTTP status of the answer that an error was, 0 if there was none.
func status(err error) int {
	var answer interface{ HTTPStatusCode() int }
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}
